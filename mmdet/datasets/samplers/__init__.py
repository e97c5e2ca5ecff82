from mmdet.datasets.samplers.clip_sampler import AspectRatioBatchSampler, ClipSampler
from mmdet.datasets.samplers.video_sampler import VideoSampler, split_videos

__all__ = ['AspectRatioBatchSampler', 'ClipSampler', 'VideoSampler', 'split_videos']

from .clip_sampler import AspectRatioBatchSampler, ClipSampler
from .video_sampler import VideoSampler, split_videos

__all__ = ['AspectRatioBatchSampler', 'ClipSampler', 'VideoSampler', 'split_videos']

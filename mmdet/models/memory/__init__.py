from mmdet.models.memory.memory_bank import MemoryBank

__all__ = ['MemoryBank']

"""Frames of video files, folders, cameras and addresses; writing videos."""

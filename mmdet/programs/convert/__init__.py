"""From other annotation formats to CocoVID JSON."""

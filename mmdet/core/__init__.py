"""The ground floor: errors, files written whole, files read safely, progress. Imports nothing of
ours."""

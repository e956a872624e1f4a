"""The trainer: learns from interactions as they arrive and cuts immutable snapshots."""

"""What `train.py` composes: batches, schedules, checkpoints and the report of a run."""

"""Who encodes shards: functions from shards to costs, see `stages.shards.Executor`."""

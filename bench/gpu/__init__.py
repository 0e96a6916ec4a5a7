"""What a GPU is asked: each question in a process of its own, with a limit of time.

`questions` lists them, most valuable first; `asking` asks and writes, `answer` is the process that
answers. `scene` is what all of them read: a device, a checkpoint, sizes.
"""

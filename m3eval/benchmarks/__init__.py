"""What is asked: one file per benchmark, each giving a `Task` per language; the protocol stands in conf/benchmark."""

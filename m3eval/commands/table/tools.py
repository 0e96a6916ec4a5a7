"""The commands around all that: plans, checkpoints, mirrors, training, the words themselves."""

from m3eval.commands.table.command import Command

TOOLS = (
    Command(
        "plan",
        "what would the stages take? Hours, bytes, memory",
        "m3eval.commands.plan",
        "Foresees tokens, floating-point operations, hours, bytes and memory of each stage, and "
        "does nothing. Where texts and encoder are at hand a sample is encoded; else published "
        "counts and sizes are taken, and it says so.",
        (
            "benchmark=miracl encoder=bge_m3 devices=8xH100",
            "experiment=demo",
            "languages=[sw] benchmark.root=/mirror devices=A100",
        ),
        (
            "devices",
            "tokens_per_second",
            "utilisation",
            "published",
            "price",
            "languages",
            "benchmark.root",
            "encoder.checkpoint",
            "representations",
        ),
        config="plan",
    ),
    Command(
        "verify",
        "is this checkpoint BGE-M3?",
        "m3eval.commands.verify",
        "Encodes the worked example that BGE-M3's authors publish and compares all 60 values "
        "that they print. Ends with status 0 when all agree, 1 when some differ, 2 when it "
        "cannot be done. Of the encoder settings only those below matter; a benchmark is not "
        "read.",
        (
            "",
            "encoder.checkpoint=/models/bge-m3",
            "encoder.checkpoint=/models/bge-m3 runtime.precision=fp32",
        ),
        (
            "encoder.checkpoint",
            "encoder.revision",
            "runtime.device",
            "runtime.precision",
            "runtime.threads",
        ),
        groups=("encoder",),
    ),
    Command(
        "decode",
        "the terms that an encoder gives a text",
        "m3eval.commands.decode",
        "Prints the terms of a text's sparse representation, heaviest first. Without text= "
        "every line of standard input is decoded, whatever signs it has. Latent terms are "
        "numbers.",
        (
            "encoder=splade_tiny 'text=What is the capital of France?'",
            "encoder=latent_sparse role=document k=null < texts.txt",
            "encoder.checkpoint=/models/bge-m3 k=50 'text=Was ist BM25?'",
        ),
        ("text", "role", "k", "encoder.checkpoint", "runtime.device", "runtime.precision"),
        config="decode",
        groups=("encoder",),
    ),
    Command(
        "mirror",
        "copy a benchmark's files from the hub into a folder",
        "m3eval.commands.mirror",
        "Copies a benchmark's files from the hub into a folder, with checksums. On machines "
        "that have no hub, give the stages the same benchmark.root=. Run it again after an "
        "interruption: what is there and whole is kept.",
        (
            "benchmark=mldr languages=[hi] benchmark.root=/mirror",
            "languages=[sw,yo] benchmark.root=/mirror with_encoder=true",
            "languages=[sw,yo] benchmark.root=/mirror check_only=true",
        ),
        ("benchmark.root", "languages", "benchmark.split", "with_encoder", "check_only"),
        config="mirror",
        groups=("benchmark", "encoder"),
    ),
    Command(
        "mine",
        "examples to train on, out of judged queries and runs",
        "m3eval.commands.mine",
        "Writes {query, pos, neg} for each judged query of a split: negatives are documents that "
        "a retriever ranks high, without judged ones and equal texts. It reads runs of stage 1, "
        "so give m3eval run the same words before; negatives=0 needs none.",
        (
            "benchmark.split=train benchmark.name=miracl_train languages=[ko]",
            "benchmark=demo languages=[en] negatives=0",
        ),
        (
            "benchmark.split",
            "benchmark.root",
            "folder",
            "negatives",
            "mined_from",
            "ranks",
            "judged_by",
            "margin",
            "neg_q",
            "never",
            "most",
        ),
        config="mine",
    ),
    Command(
        "train",
        "train an encoder: M3, SPLADE, SparseEmbed, CLP",
        "m3eval.commands.train",
        "Trains a checkpoint on questions with documents that answer them, and writes one that "
        "the stages read. Run it again after an interruption: it goes on from its last checkpoint. "
        "Several GPUs: torchrun --nproc-per-node 8 -m m3eval.train WORDS.",
        (
            "name=mine start=BAAI/bge-m3 data.files=[mine.jsonl]",
            "name=h start=/m3 data.files=[h/] objective.only_train=[heads.]",
            "name=s start=/m data.files=[s] objective.representations=[sparse]",
        ),
        (
            "name",
            "start",
            "data.files",
            "data.group",
            "data.batch_sizes",
            "objective.only_train",
            "trainer.steps",
            "trainer.learning_rate",
            "trainer.gradient_cache",
            "trainer.save_every",
            "seed",
            "output_dir",
        ),
        config="train",
        checked=False,
        groups=("objective", "data", "trainer", "experiment"),
    ),
    Command(
        "list",
        "the encoders, benchmarks, retrievers ... there are",
        "m3eval.commands.listing",
        "Says of each choice what it is. Choices of your own are listed with --config-dir DIR.",
        ("encoders", "benchmarks", "retrievers"),
        ("group",),
        config="list",
        checked=False,
        groups=(),
        plain=("group",),
    ),
    Command(
        "completion",
        "what your shell reads to complete these words",
        "m3eval.commands.completion",
        "Prints a script for bash, zsh or fish, by which TAB completes commands, settings and "
        "choices. It holds lists of them: make it again after an update.",
        ("bash >> ~/.bashrc", "zsh >> ~/.zshrc", "fish > ~/.config/fish/completions/m3eval.fish"),
        ("shell",),
        config="completion",
        checked=False,
        groups=(),
        plain=("shell",),
    ),
)

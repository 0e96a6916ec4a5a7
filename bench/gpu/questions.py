"""The questions, most valuable first."""

from __future__ import annotations

from typing import NamedTuple


class Question(NamedTuple):
    """What is asked, and who answers."""

    name: str
    asks: str
    minutes: float  # that it may take at most
    answer: str  # module:function, of the type `scene.Answer`
    needs_gpu: str = ""  # why a CPU cannot answer it


QUESTIONS = (
    Question("card", "how fast are matrix products, memory and copies?", 2, "bench.gpu.card:rates"),
    Question(
        "equality",
        "does the packed engine give what transformers gives, in fp32 and in half precision?",
        3,
        "bench.gpu.equality:packed_and_transformers",
    ),
    Question(
        "attention",
        "which attention over packed texts is right, and which is fastest? FlashAttention 3, too",
        3,
        "bench.gpu.attention:each",
    ),
    Question(
        "encode-512",
        "texts of 512 tokens: dense, + sparse, all three, beside FlagEmbedding?",
        5,
        "bench.gpu.encoding:of_512",
    ),
    Question("encode-128", "the same of 128 tokens?", 5, "bench.gpu.encoding:of_128"),
    Question("encode-8192", "the same of 8,192 tokens?", 5, "bench.gpu.encoding:of_8192"),
    Question(
        "profile",
        "what does the device do in one pack, and in several: gaps, waits, longest kernels?",
        2,
        "bench.gpu.profile:packs",
    ),
    Question("budgets", "packs of how many tokens?", 3, "bench.gpu.encoding:budgets"),
    Question(
        "queries",
        "256 queries in one call and in a call each, beside FlagEmbedding?",
        3,
        "bench.gpu.encoding:queries",
    ),
    Question(
        "compile",
        "is a layer faster by torch.compile?",
        3,
        "bench.gpu.layer:compiled",
        "on a CPU a layer's products are oneDNN's, into which torch.compile does not see",
    ),
    Question(
        "graphs",
        "is a single query faster as a CUDA graph?",
        2,
        "bench.gpu.layer:graphs",
        "CUDA graphs are of GPUs",
    ),
    Question("stage0", "stage 0 end to end, from files to stores?", 4, "bench.gpu.stage:whole"),
    Question(
        "rerank",
        "50 queries x 100 candidates beside FlagEmbedding's compute_score?",
        5,
        "bench.gpu.encoding:reranking",
    ),
)

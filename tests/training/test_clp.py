"""CLP: its formula, experts as copies, what is frozen, and checkpoints that stage 0 reads."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from m3eval.encoders import clp_moe as family
from m3eval.encoders.encoder import Request, Wanted
from m3eval.encoders.engine.mixture import Gate
from m3eval.encoders.stated import state
from m3eval.errors import UserError
from m3eval.runtime import settle
from m3eval.training.losses.clp import CLPLoss
from m3eval.training.models import freeze
from m3eval.training.objectives.clp import CLPObjective, Mixture
from m3eval.training.objectives.m3 import M3Loss, M3Objective
from m3eval.training.objectives.objective import Step
from m3eval.training.start import opened
from tests.conftest import save_m3, words
from tests.encoders.checkpoints import save_mlm
from tests.training.small import GROUP, collation, drawn, gradients, run_training

TEXTS = [words(i, 3 + 4 * i) for i in range(8)]


def units(n, seed, width=8):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(n, width, generator=generator)
    return torch.nn.functional.normalize(drawn, dim=-1).requires_grad_(True)


def reference(queries, documents, negative_queries):
    """`modeling.py` of Enhanced-BGE-M3-with-CLP-and-MoE, which is right for one question only."""
    scores = (queries @ documents.T) / 0.02
    loss = torch.nn.functional.cross_entropy(scores, torch.zeros(1, dtype=torch.long))
    cosine = torch.nn.functional.cosine_similarity(negative_queries, documents[1:], dim=-1)
    return loss * (1 - 0.1) + 0.1 * (1 - cosine).mean()


def loss_of(queries, documents, negative_queries, group, objective=None):
    own = {
        "queries": {"dense": queries},
        "documents": {"dense": documents},
        "negative_queries": {"dense": negative_queries},
    }
    return (objective or CLPObjective())(own, own, Step(0, 1, group, 0))


def test_one_question_is_the_references_loss():
    leaves = units(1, 0), units(5, 1), units(4, 2)
    found, expected = loss_of(*leaves, 5)["loss"], reference(*leaves)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    for ours, theirs in zip(
        torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_several_questions():
    """Negatives of every question with their own questions, in-batch negatives in the softmax."""
    queries, documents, asked = units(3, 0), units(9, 1), units(6, 2)
    found = loss_of(queries, documents, asked, 3)
    entropies, cosines = [], []
    for i in range(3):
        scores = (queries[i] @ documents.T) / 0.02
        entropies.append(torch.logsumexp(scores, 0) - scores[3 * i])
        cosines += [documents[3 * i + j] @ asked[2 * i + j - 1] for j in (1, 2)]
    expected = 0.9 * torch.stack(entropies).mean() + 0.1 * (1 - torch.stack(cosines)).mean()
    torch.testing.assert_close(found["loss"], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(found["penalty"], 1 - torch.stack(cosines).mean().detach())


def test_without_penalty_it_is_contrastive_learning():
    plain = CLPObjective(CLPLoss(penalty=0.0))
    assert "negative_queries" not in plain.sides
    queries, documents = units(3, 0), units(9, 1)
    found = loss_of(queries, documents, units(6, 2), 3, plain)
    m3 = M3Objective(["dense"], M3Loss())
    own = {"queries": {"dense": queries}, "documents": {"dense": documents}}
    expected = m3(own, own, Step(0, 1, 3, 0))["loss"]
    torch.testing.assert_close(found["loss"], expected, rtol=0, atol=1e-6)


def model_of(start, **mixture):
    torch.manual_seed(0)
    return CLPObjective(mixture=Mixture(**mixture)).model(opened(str(start), None)).eval()


def dense_of(model, start):
    with torch.no_grad():
        return model(collation(start).side(TEXTS, "document"))["dense"]


@pytest.mark.parametrize("part", ["intermediate", "output"])
@pytest.mark.parametrize(("per_token", "atol"), [(1, 0.0), (2, 3e-7)])
def test_a_mixture_begins_as_the_plain_model(m3, part, per_token, atol):
    plain = M3Objective(["dense"], M3Loss()).model(opened(str(m3), None)).eval()
    mixture = model_of(m3, part=part, experts=3, per_token=per_token)
    found, expected = dense_of(mixture, m3), dense_of(plain, m3)
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
    experts = getattr(mixture.body.encoder.layer[0], part).dense.experts
    with torch.no_grad():
        experts[1].weight += torch.randn_like(
            experts[1].weight
        )  # copies, not the same layer three times
    assert not torch.equal(experts[1].weight, experts[0].weight)
    assert not torch.allclose(dense_of(mixture, m3), expected, atol=1e-3)


def loss_with_gradients(model, start):
    batch = collation(start)(drawn(4))
    batch["negative_queries"] = collation(start).side(TEXTS, "query")
    objective = CLPObjective()
    own = {side: model(batch[side]) for side in objective.sides}
    objective(own, own, Step(0, 1, GROUP, 0))["loss"].backward()
    return gradients(model)


def test_a_gate_learns_with_two_experts_a_token_and_not_with_one(m3, capsys):
    one = model_of(m3, experts=3, per_token=1)
    assert "no gate has a gradient" in " ".join(capsys.readouterr().out.split())
    assert not any("gate" in name for name in loss_with_gradients(one, m3))
    for parameter in one.parameters():
        parameter.requires_grad_(True)  # the gates', too: their gradient is exactly 0
    found = loss_with_gradients(one, m3)
    gates = [name for name in found if "gate" in name]
    assert gates and not any(found[name].any() for name in gates)
    two = model_of(m3, experts=3, per_token=2)
    assert "gate" not in capsys.readouterr().out
    with torch.no_grad():
        for name, parameter in two.named_parameters():
            if ".experts." in name:
                parameter += 0.05 * torch.randn_like(parameter)
    found = loss_with_gradients(two, m3)
    assert all(found[name].any() for name in gates)


def test_a_gate_computes_in_fp32_under_autocast():
    torch.manual_seed(0)
    gate, states = Gate(8, 3), torch.randn(5, 8)
    torch.nn.init.normal_(gate.weight)
    with torch.autocast("cpu", torch.bfloat16):
        found = gate(states)
    torch.testing.assert_close(found, states @ gate.weight.T, rtol=0, atol=1e-6)
    assert found.dtype == torch.float32


def test_beginnings_hold_stars(m3):
    model = model_of(m3, experts=2, per_token=2)
    freeze(model, ["body.encoder.layer.*.intermediate.dense."])
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    parts = ("experts.0.weight", "experts.0.bias", "experts.1.weight", "experts.1.bias",
             "gate.weight")  # fmt: skip
    place = "body.encoder.layer.{}.intermediate.dense.{}"
    assert learning == {place.format(i, part) for i in (0, 1) for part in parts}
    with pytest.raises(UserError, match=r"begins with body.encoder.layer.\*.nothing"):
        freeze(model, ["body.encoder.layer.*.nothing"])


def write_examples(path, asked=True):
    rows = []
    for each in drawn(24):
        row = {"query": each.query, "pos": [each.documents[0]], "neg": [*each.documents[1:]]}
        if asked:
            row["neg_q"] = [" ".join(text.split()[:3]) for text in each.documents[1:]]
        rows.append(json.dumps(row) + "\n")
    path.write_text("".join(rows))
    return path


def train(start, outputs, *changes, asked=True):
    data = write_examples(outputs / "examples.jsonl", asked)
    return run_training(
        start, data, outputs, "objective=clp", "data.group=3", "trainer.steps=4", *changes
    )


def load(folder):
    return family.load("x", "x", str(folder), None, settle("cpu", "fp32", 1, 256, 100, 100))


def encode(folder, role="document"):
    return load(folder).encode(Request(TEXTS, role, 100), Wanted(["dense"], np.float32)).dense


@pytest.mark.parametrize("part", ["intermediate", "output"])
def test_only_experts_and_gates_change_and_stage_0_reads_them(tmp_path, part):
    """Pooling and prefixes are the start's, stand in the checkpoint and are followed."""
    start = save_m3(tmp_path / "m3")
    state(start, 32, "mean", {"query": "ba: ", "document": "do "})
    changes = (f"objective.mixture.part={part}", "objective.mixture.per_token=2")
    folder = train(start, tmp_path, *changes) / "model"
    said = json.loads((folder / "config.json").read_text())
    assert said["architectures"] == ["XLMRobertaModel"]
    assert [said[key] for key in ("moe", "num_experts", "num_experts_per_tok")] == [part, 2, 2]
    before, after = (load_file(place / "model.safetensors") for place in (start, folder))
    trained = {name for name in after if f".{part}.dense." in name and "attention" not in name}
    assert all(".experts." in name or ".gate." in name for name in trained)
    assert after.keys() - trained <= before.keys()
    assert all(torch.equal(after[name], before[name]) for name in after.keys() - trained)
    plain = before[f"encoder.layer.0.{part}.dense.weight"]
    assert not torch.equal(after[f"encoder.layer.0.{part}.dense.experts.0.weight"], plain)
    encoder = load(folder)
    assert encoder.prefixes == {"query": "ba: ", "document": "do "}
    assert encoder.identity["pooling"] == "mean"
    found = encode(folder)
    model = model_of(start, part=part, experts=2, per_token=2)
    model.body.load_state_dict({name: after[name] for name in model.body.state_dict()})
    np.testing.assert_allclose(found, dense_of(model, start), rtol=0, atol=1e-5)
    (folder / "1_Pooling/config.json").unlink()
    assert not np.allclose(encode(folder), found, atol=1e-3)
    assert not np.allclose(encode(folder, "query"), encode(folder), atol=1e-3)


def held_out(folder, start):
    """The loss of a checkpoint on questions, negatives and their questions that it never saw."""
    batch = collation(start)(drawn(16, first=200))
    texts = [text for each in drawn(16, first=200) for text in each.documents[1:]]
    asked = [" ".join(text.split()[:3]) for text in texts]
    batch["negative_queries"] = collation(start).side(asked, "query")
    model = model_of(start, experts=2, per_token=2)
    if folder != start:
        model.body.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    objective = CLPObjective()
    with torch.no_grad():
        own = {side: model(batch[side]) for side in objective.sides}
        return float(objective(own, own, Step(0, 1, GROUP, 0))["loss"])


def test_held_out_loss_falls(m3, tmp_path):
    changes = ("objective.mixture.per_token=2", "trainer.steps=24", "trainer.learning_rate=2e-3")
    folder = train(m3, tmp_path, *changes) / "model"
    before, after = held_out(m3, m3), held_out(folder, m3)
    assert after < 0.9 * before


def test_negatives_without_questions_and_starts_without_layers_are_refused(tmp_path, m3):
    with pytest.raises(UserError, match=r"24 of 24 examples have none.*objective.loss.penalty=0"):
        train(m3, tmp_path, asked=False)
    train(m3, tmp_path, "objective.loss.penalty=0", asked=False)
    with pytest.raises(UserError, match=r"is for XLM-R, and the start is a bert"):
        train(save_mlm(tmp_path / "bert"), tmp_path / "bert")
    with pytest.raises(UserError, match=r"there are 2 experts, so at most that"):
        train(m3, tmp_path, "objective.mixture.per_token=3", "name=three")
    mixture = tmp_path / "training/mine/model"
    with pytest.raises(UserError, match=r"is a mixture of experts already.*the plain one"):
        opened(str(mixture), None)

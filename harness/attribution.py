"""Which words mattered: how much each token of a text did for what a model answered.

Integrated gradients (Sundararajan, Taly and Yan 2017, arXiv:1703.01365) say how much of a logit each token brought,
compared with a baseline that knows nothing: padding tokens in place of all words, special tokens kept, at the same
positions. Attention rollout (Abnar and Zuidema 2020, arXiv:2005.00928) says from which tokens the states behind an
answer were mixed, whatever was answered. Both in eval mode and float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from harness.batches import Batch, TokenTable
from harness.configuration import TrialConfig
from harness.errors import UnavailableError, UsageError
from harness.explanations import METHODS as NAMES
from harness.explanations import SPECIAL, STEPS, Attribution, Token
from harness.stages import logits_of
from harness.tasks.base import Examples, Features, IntArray, Logits, Target, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    Encoding = Any  # tokenizers.Encoding

PLACES = {"cpu": 2_048, "cuda": 32_768}  # tokens of one forward pass


def attribute(
    task: Task,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Examples,
    config: TrialConfig,
    method: str = NAMES[0],
    steps: int = STEPS,
) -> list[list[Attribution]]:
    """For each example what its tokens did for the answer: one attribution a target of `task.targets`.

    Of a context in several windows it is the window that the answer was found in. An example whose label is unknown
    has a negative one.

    Args:
        task, model, tokenizer: as loaded, the model on its device; its weights and its mode are left as they are.
        examples: as the task reads them.
        config: max_length and what else the task's encoding reads, as in training.
        method: one of `explanations.METHODS`.
        steps: points between baseline and text, for integrated gradients.

    Raises:
        UsageError: for an unknown method.
        UnavailableError: integrated gradients without captum.
    """
    if method not in NAMES:
        raise UsageError(f"method must be one of {', '.join(NAMES)}, got {method!r}")
    explain = dict(zip(NAMES, (integrated_gradients, attention_rollout), strict=True))[method]
    features = task.encode(examples, tokenizer, config)
    encodings = task.tokenise(examples, tokenizer, config).encodings
    table = TokenTable(features, model.device)
    found: list[list[Attribution]] = [[] for _ in range(len(examples))]
    with _in_eval_mode(model):
        for target in task.targets(_logits(model, table), features, examples, config):
            encoding = encodings[target.feature]
            window = _Window(model, table.batch(_only(target.feature)), encoding, features, target, steps)
            tokens = tokens_of(encoding, _texts(examples, target.example), tokenizer)
            found[target.example].append(_attribution(explain(window), target, tokens, method))
    return found


class _Window(NamedTuple):
    """One feature and the number that is to be explained.

    Attributes:
        batch: the feature alone, without padding.
    """

    model: Any
    batch: Batch
    encoding: Encoding
    features: Features
    target: Target
    steps: int

    def value(self, logits: torch.Tensor) -> torch.Tensor:
        """The explained number of each row, (batch,), from logits (batch, ...)."""
        for place in self.target.place:
            logits = logits[:, place]
        return logits

    def run(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The explained number of each row, (batch,), from word embeddings (batch, sequence, width)."""
        arguments: dict[str, Any] = {"inputs_embeds": embeddings}
        if self.batch.token_type_ids is not None:
            arguments["token_type_ids"] = self.batch.token_type_ids.expand(len(embeddings), -1)
        return self.value(logits_of(self.model(**arguments)).float())

    def baseline_ids(self) -> torch.Tensor:
        """Padding where a word is, (1, sequence)."""
        assert self.batch.input_ids is not None
        special = torch.tensor(self.encoding.special_tokens_mask, dtype=torch.bool, device=self.batch.input_ids.device)
        return self.batch.input_ids.masked_fill(~special, self.features.pad_id)


class _Explained(NamedTuple):
    """What a method found: a score for each token, (sequence,), and for gradients the values at text and baseline."""

    scores: torch.Tensor
    value: float
    baseline_value: float | None = None
    delta: float | None = None


# --- methods ------------------------------------------------------------------------------------------


def integrated_gradients(window: _Window) -> _Explained:
    """Shares of the logit's rise from baseline to text; `delta` is what their sum misses of it."""
    if find_spec("captum") is None:
        raise UnavailableError("integrated gradients need captum: pip install '.[explain]' in harness's folder")
    from captum.attr import IntegratedGradients

    embed = window.model.get_input_embeddings()
    with torch.no_grad():
        text, baseline = embed(window.batch.input_ids), embed(window.baseline_ids())
        value, nothing = float(window.run(text)), float(window.run(baseline))
    places = PLACES[text.device.type]
    shares, delta = IntegratedGradients(window.run).attribute(
        text,
        baselines=baseline,
        n_steps=window.steps,
        internal_batch_size=max(1, places // text.shape[1]),
        return_convergence_delta=True,
    )
    return _Explained(shares[0].sum(dim=-1), value, nothing, float(delta))


def attention_rollout(window: _Window) -> _Explained:
    """Shares of the tokens in the states that the answer is read from, going down through the mixing of all layers."""
    with torch.no_grad(), _attention_told(window.model):
        ids, types = window.batch.input_ids, window.batch.token_type_ids
        more = {} if types is None else {"token_type_ids": types}
        output = window.model(input_ids=ids, output_attentions=True, **more)
    mixed = torch.eye(output.attentions[0].shape[-1], device=output.attentions[0].device)
    for attention in output.attentions:  # from below; (1, heads, sequence, sequence)
        mean = attention[0].float().mean(dim=0)
        passing = torch.eye(len(mean), device=mean.device)  # what goes round the attention
        mixed = (0.5 * mean + 0.5 * passing) @ mixed
    return _Explained(mixed[window.target.token], float(window.value(logits_of(output).float())))


# --- around them --------------------------------------------------------------------------------------


def _logits(model: Any, table: TokenTable) -> Logits:
    """Logits of all features, -inf where there is no token, as `evaluation.predict` gives them."""
    found: torch.Tensor | None = None
    with torch.inference_mode():
        for rows in table.by_length(PLACES[table.device.type]):
            batch = table.batch(rows)
            arguments = {"input_ids": batch.input_ids}
            if batch.attention_mask is not None:
                arguments["attention_mask"] = batch.attention_mask.long()
            if batch.token_type_ids is not None:
                arguments["token_type_ids"] = batch.token_type_ids
            logits = logits_of(model(**arguments)).float()
            if found is None:
                found = logits.new_full((len(table), *logits.shape[1:]), -math.inf)
            if logits.dim() == 3 and batch.attention_mask is not None:  # padding is no answer
                logits = logits.masked_fill(~batch.attention_mask[:, :, None], -math.inf)
            found[batch.rows, : logits.shape[1]] = logits  # the longest batch came first
    assert found is not None
    return found.cpu().numpy()


@contextmanager
def _in_eval_mode(model: Any) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _attention_told(model: Any) -> Iterator[None]:
    """Fused attention does not tell its weights: the model works them out one by one meanwhile."""
    kernel = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(kernel)


def _only(feature: int) -> IntArray:
    return np.array([feature], dtype=np.int64)


def _texts(examples: Examples, index: int) -> tuple[str, ...]:
    pair = () if examples.pairs is None else (examples.pairs[index],)
    return (examples.texts[index], *pair)


def tokens_of(encoding: Encoding, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> tuple[Token, ...]:
    """The tokens of a feature as the text has them, each with the blanks before it, and the word that it belongs to.

    Put together, those of one part are the stretch of the text that the feature holds.
    """
    names = tokenizer.convert_ids_to_tokens(encoding.ids)
    words: dict[tuple[int, int], int] = {}
    reached: dict[int, int] = {}
    found = []
    for name, part, word, (start, end) in zip(
        names, encoding.sequence_ids, encoding.word_ids, encoding.offsets, strict=True
    ):
        if part is None or word is None:
            found.append(Token(name, SPECIAL, SPECIAL))
            continue
        begin = reached.get(part, start)
        reached[part] = max(begin, end)
        number = words.setdefault((part, word), len(words))
        found.append(Token(texts[part][begin : reached[part]], part, number))
    return tuple(found)


def _attribution(found: _Explained, target: Target, tokens: tuple[Token, ...], method: str) -> Attribution:
    return Attribution(
        method=method,
        target=target.name,
        answer=target.answer,
        probability=target.probability,
        tokens=tokens,
        scores=tuple(float(score) for score in found.scores),
        value=found.value,
        baseline_value=found.baseline_value,
        delta=found.delta,
    )

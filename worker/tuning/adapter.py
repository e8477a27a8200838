"""LoRA around a transformer (Hu et al., ICLR 2022), by the library peft, and merged back into it.

peft is an extra: `pip install "innerloop[tune]"`.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from transformers import PreTrainedModel

from schemas.errors import EncoderError

if TYPE_CHECKING:
    from peft import PeftModel

_TARGETS = "all-linear"
_EXCLUDED = ["pooler"]


def require_peft() -> None:
    """Refuse to go on without peft.

    Raises:
        EncoderError: it is not installed.
    """
    if importlib.util.find_spec("peft") is None:
        raise EncoderError(
            'tuning the text encoder needs the library peft: pip install "innerloop[tune]"'
        )


def add_lora(model: PreTrainedModel, rank: int, alpha: float) -> PeftModel:
    """Freeze the model and put W + (alpha / rank) B A in place of each weight matrix W.

    B starts at zero, so nothing changes yet. The pooler, which mean pooling does not use, is left
    alone. The model stays in evaluation mode: no dropout, so that the steps are smooth and few
    suffice.

    Raises:
        EncoderError: peft is not installed, or knows no linear layer in the model.
    """
    require_peft()
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - an extra

    config = LoraConfig(
        r=rank,
        lora_alpha=cast(int, alpha),  # peft takes any number
        target_modules=_TARGETS,
        exclude_modules=_EXCLUDED,
    )
    try:
        with _quiet():
            adapted = get_peft_model(model, config)
    except ValueError as error:
        raise EncoderError(
            f"peft cannot put LoRA into the {type(model).__name__}: {error}"
        ) from error
    return cast("PeftModel", adapted.eval())


def targets(adapted: PeftModel) -> list[str]:
    """Return the names of the kinds of layer that are adapted."""
    names = {name for name, module in adapted.named_modules() if hasattr(module, "lora_A")}
    return sorted({name.rsplit(".", 1)[-1] for name in names})


def merged(adapted: PeftModel) -> PreTrainedModel:
    """Add the updates to the weights; return the transformer as it was, but for those."""
    model = adapted.merge_and_unload()
    return cast(PreTrainedModel, model.eval().requires_grad_(False))


@contextmanager
def _quiet() -> Iterator[None]:
    # It asks transformers by a name that transformers is about to drop.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield

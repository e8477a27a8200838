"""Settings of training, and of tuning the text encoder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.settings.section import Section


class TrainingSettings(Section):
    """Meta-training."""

    dim: int = Field(96, ge=2, description="width of item vectors, session state and queries")
    rank: int = Field(8, ge=1, description="columns of the fast weight A")
    anchors: int = Field(256, ge=1, description="items against which the inner loop's softmax goes")
    epochs: int = Field(8, ge=1, description="most epochs: passes over the training events")
    epoch_events: int = Field(
        0,
        ge=0,
        description="end an epoch, and validate, after about so many events, the next one going on "
        "with others; 0 takes all",
    )
    patience: int = Field(2, ge=1, description="epochs without a better validation HR@20 to stop")
    batch_users: int = Field(
        128,
        ge=1,
        description="most user streams in a training batch; where they are few, so are those of a "
        "batch, down to 8, for an epoch to have some 64 batches",
    )
    longest_stream: int = Field(50, ge=2, description="events of a stream; longer ones are cut")
    negatives: int = Field(4096, ge=1, description="items drawn against each batch")
    sampling_power: float = Field(
        0.75, ge=0, le=1, description="items are drawn with probability (training count)^this"
    )
    learning_rate: float = Field(3e-3, gt=0, description="peak of the outer loop's step size")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW's decoupled weight decay")
    id_dropout: float = Field(
        0.1, ge=0, lt=1, description="share of items that lose their id embedding in a batch"
    )
    inner_steps: int = Field(1, ge=1, le=16, description="inner-loop gradient steps on an event")
    type_steps: bool = Field(
        False, description="learn a factor on the inner loop's step sizes for each event type"
    )
    timed_forgetting: bool = Field(
        False, description="let the fast weights' decay depend on the time since the last event"
    )
    inner_temperature: bool = Field(
        False, description="learn a temperature of the inner loop's softmax"
    )
    first_order: bool = Field(
        False, description="leave the second derivatives out of the meta-gradient"
    )
    meta_weight: float = Field(
        1.0,
        ge=0,
        le=1,
        description="weight α of the loss after adaptation; 1 − α is that of the loss without it",
    )
    crop: float = Field(0, ge=0, le=1, description="share of streams cut to a random part")
    mask: float = Field(0, ge=0, lt=1, description="share of events whose item is hidden")
    noise: float = Field(
        0, ge=0, description="Gaussian noise on item vectors, in multiples of their spread"
    )
    dropout: float = Field(0, ge=0, lt=1, description="dropout on the item vectors of events")
    adversarial: float = Field(
        0, ge=0, description="adversarial shift of item vectors, in multiples of their length"
    )
    type_weight: float = Field(0, ge=0, description="weight of predicting the next event's type")
    category_weight: float = Field(
        0, ge=0, description="weight of predicting the next item's category"
    )
    purchase_weight: float = Field(
        0, ge=0, description="weight of predicting a purchase later in the session"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of meta-training; bfloat16 is mixed precision"
    )
    memory: bool = Field(True, description="give the model an item memory, and mix it in")
    memory_neighbours: int = Field(
        64, ge=1, description="most followers, and most predecessors, kept of an item"
    )
    validation_users: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="share of the training users kept for early stopping and for fitting the mix",
    )
    validation_events: int = Field(
        50_000, ge=1, description="keep fewer of these users if they have more events than this"
    )
    refit: bool = Field(
        True, description="train once more, on all users, for as many epochs as were best"
    )


class TuningSettings(Section):
    """Tuning the text encoder (`innerloop tune-encoder`)."""

    rank: int = Field(8, ge=1, description="rank of LoRA's updates of the weight matrices")
    alpha: float = Field(16.0, gt=0, description="LoRA's updates are scaled by alpha / rank")
    steps: int = Field(300, ge=1, description="gradient steps")
    batch_pairs: int = Field(
        64, ge=2, description="pairs of texts in a batch; its other texts are the negatives"
    )
    learning_rate: float = Field(5e-4, gt=0, description="peak of the step size")
    temperature: float = Field(0.05, gt=0, description="what cosines are divided by in the softmax")
    window: int = Field(
        3, ge=1, description="events of the same user within which two items make a pair"
    )
    max_tokens: int = Field(
        32, ge=8, description="longer texts are cut to so many tokens while tuning"
    )
    popularity_correction: bool = Field(
        True, description="correct the softmax for how often a text is among the negatives (logQ)"
    )
    held_out_texts: float = Field(
        0.1, gt=0, lt=1, description="share of the texts kept out, to measure before and after on"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the tuning; bfloat16 is mixed precision"
    )

"""Contrastive representation distillation: student and teacher agree on an example more than on examples of other classes.

Legend: N examples of a batch, M examples of the training split, D features of an embedding, K negatives.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodteacher.base.errors import ConfigError, ShapeError, check_choice, check_range
from goodteacher.base.shapes import shapes_of
from goodteacher.base.types import Batch, Labels, Loss, Needs, Output, Progress, Setting, Terms
from goodteacher.methods.connectors import check_embeddings, check_widths, wide

PositiveMode: TypeAlias = Literal["exact", "relax"]
EPSILON = 1e-7


def crd_in_batch(
    student_embedding: Tensor, teacher_embedding: Tensor, *, temperature: float = 0.07, labels: Labels | None = None
) -> Tensor:
    r"""Contrast within the batch, without memories: each example must find itself in the other network.

    .. math:: \ell = -\frac{1}{2N} \sum_n \log \frac{e^{s_{nn}}}{\sum_m e^{s_{nm}}} + \log \frac{e^{s_{nn}}}{\sum_m
              e^{s_{mn}}}, \quad s_{nm} = \frac{\langle g^s_n, g^t_m \rangle}{T}, \; g = f / \Vert f \Vert

    Args:
        student_embedding: ``(N, D)``, projected; receives the gradient.
        teacher_embedding: ``(N, D)``, projected; receives the gradient too, for the sake of its projection.
        temperature: ``T > 0``, dimensionless.
        labels: ``(N,)``; if given, other examples of an example's class are left out of its sums.

    Returns:
        Scalar, nats; the mean over the batch, whose examples are coupled.

    Raises:
        ShapeError: if the shapes differ, or values are not finite.
        ConfigError: if T is not positive.

    Example:
        >>> import torch
        >>> crd_in_batch(torch.eye(2), torch.eye(2), temperature=1.0)
        tensor(0.3133)

    Source: van den Oord, Li & Vinyals (2018), equation 4, in both directions between the embeddings of Tian et al. (2020).
    """
    check_embeddings(student_embedding=student_embedding, teacher_embedding=teacher_embedding)
    check_widths(student_embedding=student_embedding, teacher_embedding=teacher_embedding)
    check_range("temperature", temperature, low=0.0, open_low=True)
    student = F.normalize(wide(student_embedding), dim=1)
    similarity = student @ F.normalize(wide(teacher_embedding), dim=1).T / temperature
    own = torch.arange(len(student), device=student.device)
    if labels is not None:
        if tuple(labels.shape) != (len(student),):
            raise ShapeError("labels", rule=f"must have shape ({len(student)},)", received=tuple(labels.shape))
        siblings = (labels[:, None] == labels) & (own[:, None] != own)
        similarity = similarity.masked_fill(siblings, -math.inf)
    return (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)) / 2


class CRD(nn.Module):
    r"""Contrast against memories of all training examples' embeddings in the other network.

    .. math:: \ell = -\frac{1}{N} \sum_n \sum_{a \in \{s, t\}} \Bigl[ \log \frac{P^a_{n0}}{P^a_{n0} + K/M} + \sum_{k=1}^K
              \log \frac{K/M}{P^a_{nk} + K/M} \Bigr], \quad P^s_{nk} = \frac{1}{Z^s} e^{\langle g^s_n, V^t_k \rangle / T}

    g are linear embeddings of unit length, both trained. Index 0 is the example's own row of the memory, 1 to K are rows of
    other classes, drawn anew at each step without replacement. Z is M times the mean score of the first batch and stays. After
    each step the rows of the batch move half way to the new embeddings.

    Args:
        student_width: of the student's embedding.
        teacher_width: of the teacher's.
        labels: ``(M,)`` int64 of the training split.
        width: D of the compared embeddings.
        negatives: K; capped at the number of examples with other labels.
        temperature: ``T > 0``, dimensionless.
        momentum: share of a memory's row that is kept at an update, in [0, 1).
        mode: ``exact``, or ``relax``, which takes another example of the class for index 0.

    Returns:
        Called with ``student_embedding`` ``(N, student_width)``, ``teacher_embedding`` ``(N, teacher_width)``, ``indices``
        ``(N,)`` of the examples and a CPU ``generator`` for the draw of negatives, it returns a scalar, nats; the mean over the
        batch. At the start it is near 2 (log(1 + K) + 1 + 1 / (2 D T²)).

    Raises:
        ShapeError: if the embeddings do not fit the widths or the indices, or values are not finite.
        ConfigError: if all labels are equal, or an option is out of its range.

    Example:
        >>> import torch
        >>> crd = CRD(3, 5, torch.tensor([0, 0, 1, 1]))
        >>> crd(torch.randn(2, 3), torch.randn(2, 5), torch.tensor([0, 3]), torch.Generator()).shape
        torch.Size([])

    Source: Tian, Krishnan & Isola (2020), the critic's objective with memories; constants of the released code.

    Differs: one permutation of the training split a step is read from a random place for each example, where the released
    code draws for each example anew. An example's negatives are as uniform; those of two examples overlap more or less.
    """

    def __init__(
        self,
        student_width: int,
        teacher_width: int,
        labels: Labels,
        *,
        width: int = 128,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        mode: PositiveMode = "exact",
    ) -> None:
        super().__init__()
        check_range("width", width, low=1)
        check_range("negatives", negatives, low=1)
        check_range("temperature", temperature, low=0.0, open_low=True)
        check_range("momentum", momentum, low=0.0, high=1.0, open_high=True)
        check_choice("mode", mode, ("exact", "relax"))
        counts = torch.bincount(labels)
        largest, examples = int(counts.max()), len(labels)
        if largest == examples:
            raise ConfigError("labels", rule="must show at least two classes to draw negatives", received="one class")
        self.temperature, self.momentum, self.mode = temperature, momentum, mode
        self.examples, self.negatives = examples, min(negatives, examples - largest)
        # So many rows in any order hold enough of other classes.
        self.window = min(examples, self.negatives + largest)
        self.embed_student = nn.Linear(student_width, width)
        self.embed_teacher = nn.Linear(teacher_width, width)
        bound = 1 / math.sqrt(width / 3)
        self.student_memory: Tensor
        self.teacher_memory: Tensor
        self.normalisers: Tensor
        self.register_buffer("student_memory", torch.empty(examples, width).uniform_(-bound, bound))
        self.register_buffer("teacher_memory", torch.empty(examples, width).uniform_(-bound, bound))
        self.register_buffer("normalisers", torch.zeros(2))
        self.labels: Tensor
        self.by_class: Tensor
        self.counts: Tensor
        self.register_buffer("labels", labels.clone(), persistent=False)
        self.register_buffer("by_class", labels.argsort(stable=True), persistent=False)
        self.register_buffer("counts", counts, persistent=False)

    def memory_bytes(self) -> int:
        """Return the size of both memories."""
        return sum(m.numel() * m.element_size() for m in (self.student_memory, self.teacher_memory))

    def draw(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows of positives ``(N,)``, rows to choose negatives from ``(N, W)``, and which are chosen ``(N, W)``, K a row.

        Args:
            indices: ``(N,)`` of the examples.
            generator: on the CPU, so that every device sees the same draw.
        """
        n, device = len(indices), indices.device
        # One permutation for the batch and a random window of it for each example: distinct rows without N draws of M numbers.
        order = torch.randperm(self.examples, generator=generator).to(device)
        start = torch.randint(self.examples, (n, 1), generator=generator).to(device)
        candidates = order[(start + torch.arange(self.window, device=device)) % self.examples]
        # The window is as long as the negatives and the largest class together, so that enough of other classes are in it.
        own = self.labels[indices]
        other = self.labels[candidates] != own[:, None]
        chosen = other & (other.cumsum(dim=1) <= self.negatives)
        if self.mode == "exact":
            return indices, candidates, chosen
        # Rows sorted by class: a positive is a uniform place among the rows of the example's own class.
        place = (torch.rand(n, generator=generator).to(device) * self.counts[own]).long()
        first = self.counts.cumsum(dim=0)[own] - self.counts[own]
        return self.by_class[first + place.clamp_max(self.counts[own] - 1)], candidates, chosen

    def forward(
        self, student_embedding: Tensor, teacher_embedding: Tensor, indices: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the loss of a batch; in training, move its rows of the memories."""
        check_embeddings(student_embedding=student_embedding, teacher_embedding=teacher_embedding)
        for name, x, layer in (
            ("student_embedding", student_embedding, self.embed_student),
            ("teacher_embedding", teacher_embedding, self.embed_teacher),
        ):
            if tuple(x.shape) != (len(indices), layer.in_features):
                rule = f"must have shape ({len(indices)}, {layer.in_features})"
                raise ShapeError(name, rule=rule, received=tuple(x.shape))
        student = F.normalize(self.embed_student(wide(student_embedding)), dim=1)
        teacher = F.normalize(self.embed_teacher(wide(teacher_embedding.detach())), dim=1)
        positives, candidates, chosen = self.draw(indices, generator)
        of_student, z_student = self._contrast(
            student, self.teacher_memory, self.normalisers[0], positives, candidates, chosen
        )
        of_teacher, z_teacher = self._contrast(
            teacher, self.student_memory, self.normalisers[1], positives, candidates, chosen
        )
        if self.training:
            # New tensors, not changes in place: the backward pass still reads the old memories.
            self.normalisers = torch.stack([z_student, z_teacher])
            self.student_memory = self._moved(self.student_memory, student, indices)
            self.teacher_memory = self._moved(self.teacher_memory, teacher, indices)
        return of_student + of_teacher

    def _contrast(
        self, anchor: Tensor, memory: Tensor, normaliser: Tensor, positives: Tensor, candidates: Tensor, chosen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return one direction's loss and its normaliser."""
        # All M similarities are one product of matrices, cheaper than gathering N K rows of the memory.
        similarity = (anchor / self.temperature) @ memory.T
        scores = similarity.gather(1, torch.cat([positives[:, None], candidates], dim=1)).exp()
        positive, negative = scores[:, 0], torch.where(chosen, scores[:, 1:], torch.zeros_like(scores[:, 1:]))
        mean = (positive.sum() + negative.sum()).detach() / (len(anchor) * (1 + self.negatives))
        # Z is estimated from the first batch and kept, as published; 0 says that there has been none.
        normaliser = torch.where(normaliser > 0, normaliser, mean * self.examples)
        noise = self.negatives / self.examples
        positive, negative = positive / normaliser, negative / normaliser
        # A place that is not chosen has score 0 and adds log 1, but for ε: it is left out all the same.
        hits = torch.log(positive / (positive + noise + EPSILON))
        misses = torch.where(
            chosen, math.log(noise) - torch.log(negative + noise + EPSILON), torch.zeros_like(negative)
        )
        return -(hits.sum() + misses.sum()) / len(anchor), normaliser

    @torch.no_grad()
    def _moved(self, memory: Tensor, embedding: Tensor, indices: Tensor) -> Tensor:
        rows = self.momentum * memory[indices] + (1 - self.momentum) * embedding.to(memory.dtype)
        return memory.index_copy(0, indices, F.normalize(rows, dim=1))


class CRDMethod(Loss):
    """Contrast of embeddings, weighted by β; see `CRD`.

    Args:
        setting: supplies shapes and, for the memories, the labels of all training examples.
        beta: weight.
        memory: whether to contrast against memories of all examples, or else within the batch; see `crd_in_batch`.
        width: of the compared embeddings.
        negatives: drawn for each example.
        temperature: of the similarity.
        momentum: of the memories.
        mode: which example of the class is the positive.
    """

    needs = Needs(frozenset({"embedding"}), frozenset({"embedding"}), uses_teacher=True, examples=True)

    def __init__(
        self,
        setting: Setting,
        *,
        beta: float = 0.8,
        memory: bool = True,
        width: int = 128,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        mode: PositiveMode = "exact",
    ) -> None:
        super().__init__()
        check_range("beta", beta, low=0.0)
        check_range("width", width, low=1)
        check_range("temperature", temperature, low=0.0, open_low=True)
        self.beta, self.temperature = beta, temperature
        ((student_width,), (teacher_width,)) = shapes_of(setting, "crd", student="embedding")[0]
        self.crd: CRD | None = None
        if memory:
            # Without labels the method can be looked at (its needs, its size), but not trained.
            self.has_labels = setting.labels is not None
            labels = torch.arange(max(2, setting.examples)) % 2 if setting.labels is None else setting.labels
            self.crd = CRD(
                student_width,
                teacher_width,
                labels,
                width=width,
                negatives=negatives,
                temperature=temperature,
                momentum=momentum,
                mode=mode,
            )
        else:
            self.needs = Needs(self.needs.network, self.needs.teacher, uses_teacher=True)
            self.embed_student = nn.Linear(student_width, width)
            self.embed_teacher = nn.Linear(teacher_width, width)

    def memory_bytes(self) -> int:
        """Return the size of the memories."""
        return self.crd.memory_bytes() if self.crd is not None else 0

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``crd``."""
        assert teacher is not None and network.embedding is not None and teacher.embedding is not None
        if self.crd is not None:
            if not self.has_labels:
                raise ConfigError("method 'crd'", rule="needs the labels of all training examples", received="none")
            value = self.crd(network.embedding, teacher.embedding, batch.indices, progress.generator("crd"))
        else:
            value = crd_in_batch(
                self.embed_student(wide(network.embedding)),
                self.embed_teacher(wide(teacher.embedding)),
                temperature=self.temperature,
                labels=batch.labels,
            )
        return {"crd": self.beta * value}

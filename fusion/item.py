"""An item as soft tokens: content through fusion, plus an id residual."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from p5mm.fusion.base import SCALE, Fusion


class ItemTokens(nn.Module):
    """``project(fuse(z_image, z_text, ...)) + id residual``.

    Args:
        fusion: Mixes the modalities; None where the catalog has no content at all.
        content: ``[n, dim]`` vectors a modality.
        present: ``[n]`` bool a modality, True where the item has it.
        trained: ``[n]`` bool, True where the id residual exists (the item was seen in training).
        d: Width of a soft token.
        k: Soft tokens an item.
        id_dropout: Probability that a training step hides an item's id, so that content alone
            must work; never hidden where there is no content.
    """

    def __init__(
        self,
        fusion: Fusion | None,
        content: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        trained: Tensor,
        d: int,
        k: int,
        id_dropout: float,
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.k = k
        self.id_dropout = id_dropout
        self.modalities = tuple(content)
        self.register_buffer("trained", trained)
        self.hold(content, present)
        self.residual = nn.Embedding(len(trained), k * d)
        nn.init.normal_(self.residual.weight, std=SCALE)
        self.present: Tensor
        self.trained: Tensor

    def hold(self, content: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> None:
        """Take other content ``[n, dim]`` and presence ``[n]`` of the same modalities."""
        for name in self.modalities:
            self.register_buffer(f"content_{name}", content[name], persistent=False)
        columns = [present[name] for name in self.modalities]
        empty = torch.zeros(len(self.trained), 0, dtype=torch.bool)
        self.register_buffer(
            "present", torch.stack(columns, 1) if columns else empty, persistent=False
        )

    @property
    def trained_rows(self) -> Tensor:
        """``[t]`` int64 rows of the items seen in training, ascending."""
        return torch.nonzero(self.trained).flatten()

    @property
    def known(self) -> Tensor:
        """``[n]`` bool, True where anything is known of the item: content or a trained id."""
        return self.trained | self.present.any(dim=1)

    @contextmanager
    def hiding(self, rows: Tensor) -> Iterator[None]:
        """While it lasts, items at these rows ``[m]`` have no id: as if they were new."""
        trained = self.trained
        self.trained = trained.index_fill(0, rows, False)
        try:
            yield
        finally:
            self.trained = trained

    def __len__(self) -> int:
        return len(self.trained)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Soft tokens ``[n, k, d]`` of item rows ``[n]``; of all items where None."""
        present = self.present if rows is None else self.present[rows]
        trained = self.trained if rows is None else self.trained[rows]
        residual = self.residual.weight if rows is None else self.residual(rows)
        residual = residual * self._keep(trained, present)[:, None]
        residual = torch.unflatten(residual, -1, (self.k, -1))
        if self.fusion is None:
            return residual
        vectors = {name: self.vectors_of(name, rows) for name in self.modalities}
        content: Tensor = self.fusion(vectors, present)
        return content + residual

    def vectors_of(self, name: str, rows: Tensor | None = None) -> Tensor:
        """Content vectors ``[n, dim]`` of one modality, zero where absent."""
        vectors: Tensor = getattr(self, f"content_{name}")
        return vectors if rows is None else vectors[rows]

    def _keep(self, trained: Tensor, present: Tensor) -> Tensor:
        """``[n]`` float: 1 where the id residual is used."""
        keep = trained
        if self.training and self.id_dropout > 0:
            hidden = torch.rand(len(trained), device=trained.device) < self.id_dropout
            keep = keep & ~(hidden & present.any(dim=1))
        return keep.float()

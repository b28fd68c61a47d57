"""Change from two images at once: a siamese network trained on the change itself.

The direct way, beside the two-stage way of comparing two class maps. The backbone, its neck and its decoder
are those of the segmentation experiments and see both dates with the same weights; their two maps meet in one
of two ways (Caye Daudt et al. 2018, ICIP, doi 10.1109/ICIP.2018.8451652):

- "difference": the absolute difference of the maps; which date came first makes no difference.
- "concatenation": the maps one after the other; the order of the dates can be learnt.

What is predicted is one of two things:

- "bcd": changed or not (binary change detection).
- "scd": that, and the classes of both dates, from two heads with shared weights beside the change head
  (semantic change detection by multi-task learning: Caye Daudt et al. 2019, CVIU 187, "strategy 4", doi
  10.1016/j.cviu.2019.07.003; Ding et al. 2022, IEEE TGRS 60, arXiv 2108.06103).

The originals fuse at every level of an encoder; here the maps meet once, at the end of the decoder, so that
backbone and decoder stay exactly those that the two-stage way uses. Imports torch, and TerraTorch where a
model is built.
"""

from wusu_lib.change.direct.runs import build, describe_direct, train_direct

__all__ = ["build", "describe_direct", "train_direct"]

"""Helper library of the WUSU experiment log: data, models, training, honest comparison, figures."""

import os

# OpenMP's threads wait for each other by spinning. On a machine that does anything else at the same time, two
# notebooks for instance, that makes training several times slower; sleeping costs nothing worth mention. The
# setting is read when torch is first loaded, so it stands here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

"""Stored runs: one folder a run, ``runs/by-key/<key>/``, complete or not there at all.

    record.json        parameters, metrics, provenance, status
    confusion.npz      matrix int64 [N,12,12] truth x prediction by index; patch, site, date, split, block [N]
    predictions.npz    of n validation patches: patch [n]; index uint8 [n,H,W], the class index predicted;
                       confidence uint8 [n,H,W], the largest class probability x 255
    history.csv        one row an epoch
    steps.csv          one row an optimiser step
    model.safetensors  weights of the best epoch
    events.*           the same curves for TensorBoard

The key is a hash of all that the figures depend on, so a stored run can be reused without asking whether it
is stale. A run grows in ``<key>.partial/`` and is renamed at its end; whoever is killed leaves a partial
folder that the next start resumes. A file lock beside it makes two processes that ask for the same key train
once.

Experiments that ask for the same figures share a run. Each has a link to it, ``runs/<experiment>/<key>/``:

    link.json          experiment, key, what the run is called there, its parameters there, when it was linked
"""

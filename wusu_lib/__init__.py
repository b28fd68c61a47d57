"""Helper library of the WUSU experiment log: data, models, training, honest comparison, figures."""

"""The commented study file that `harness init` writes."""

from __future__ import annotations

TEMPLATE = """\
# The question that this study answers:
#   Which learning rate and how many epochs suit my data, and does freezing the encoder help?
#
#   harness audit FILE    lengths, class balance, duplicates: before the night
#   harness run FILE      in the evening; the same command goes on where it stopped
#   harness report {name}
study: {name}
task: sequence-classification
model: distilbert-base-uncased      # Hub id, folder, or builtin:tiny to try things out
seed: 42

data:
  path: builtin:reviews             # your own: my-data.csv, .jsonl, .parquet, a folder, or a Hub id
  text: text                        # column of the text
  label: label                      # column of the label, text or numbers
  # text_pair: other                # second text, for tasks on pairs
  # positive: good                  # class that f1, precision and recall speak of
  # groups: language                # metrics also by this column
  train: 2000                       # rows, or a share such as 0.8; left out: all that remain
  validation: 500                   # rows, a share, or {{split: test, size: 500}}
  on_bad_row: error                 # or drop: rows without text or label are counted and left out

fixed:                              # what all trials share
  batch_size: 16
  max_length: 128
  weight_decay: 0.01
  warmup: 0.1                       # a share of all steps, or a number of steps
  dtype: auto                       # bf16 where the device has it

# configurations:                   # trials to run first, as written
#   - {{epochs: 3, learning_rate: 2e-5, freeze: none}}

search:                             # a list of values, or a range of numbers
  epochs: [2, 3, 4]
  learning_rate: {{low: 1e-5, high: 1e-4, log: true}}
  freeze: [none, embeddings, top-2, head]

objective: {{metric: f1, at: best}}   # or objectives: [f1, train_samples_per_second]
budget: {{trials: 20, time: 8h}}      # whatever is reached first; also until: "07:30"
sampler: tpe                        # random, grid, gp, qmc
pruner: median                      # none, hyperband, patient; wilcoxon between folds
keep: 3                             # trials whose best weights stay on disk
"""


def init_template(name: str) -> str:
    """A study file for one's own data, with every usual key and what it means.

    Args:
        name: of the study; it becomes a valid name if it is none.
    """
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name).strip("._-")[:64]
    return TEMPLATE.format(name=kept.rstrip(".") or "my-study")

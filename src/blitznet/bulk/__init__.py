"""Bulk prediction: millions of images to Parquet parts, on one machine or on a Ray cluster.

The images of a source are cut into shards. Each shard becomes one part, a file that is written whole under a name made
from the shard's inputs, the model and the settings. A part that exists is not computed again, so a run that was killed
continues, and a second run changes nothing.

May import: core, postprocess, drawing, data, metrics, runtime, nets, video, integrations, bench, train, export, report,
api; pyarrow in `parquet.py`, fsspec in `remote.py`, Ray in `ray_runner.py`.
Never imports: argument parsing, serve, paper, pipelines, torch.
"""

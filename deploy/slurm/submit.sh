#!/bin/bash
# Not run by us on a cluster. Submits the shards, and the last job for when all have ended, also those that failed.
set -euo pipefail
job=$(sbatch --parsable features.sbatch)
sbatch --dependency="afterany:${job%%;*}" study.sbatch

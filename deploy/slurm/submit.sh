#!/bin/bash
# Not run by us on a cluster. Submits the shards, and a last job that starts when all have ended, even failed ones.
set -euo pipefail
job=$(sbatch --parsable features.sbatch)
sbatch --dependency="afterany:${job%%;*}" study.sbatch

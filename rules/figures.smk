# One rule per figure: draw_NAME reads tables and writes figures/NAME.png, .svg and .csv.

for name, figure in FIGURES.items():

    rule:
        """Draw one figure from tables."""
        name:
            f"draw_{name}"
        input:
            **figure["input"],
        output:
            csv=ensure(f"<results>/figures/{name}.csv", non_empty=True),
            png=ensure(f"<results>/figures/{name}.png", non_empty=True),
            svg=report(
                ensure(f"<results>/figures/{name}.svg", non_empty=True),
                caption=f"captions/{name}.rst",
                category=figure["category"],
                labels={"figure": name.replace("_", " ")},
            ),
        log:
            f"<logs>/figures/{name}.log",
        benchmark:
            f"<benchmarks>/figures/{name}.jsonl"
        conda:
            "../envs/core.yaml"
        threads: 1
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            cfg=cfg("figures.dpi", "figures.width", *figure.get("cfg", [])),
            code=code("figures"),
            name=name,
        script:
            "../workflow_scripts/draw_figure.py"

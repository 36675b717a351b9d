#!/usr/bin/env bash
# Installs this package into the new environment (`--sdm conda`); the working folder is the repository's top.
set -euo pipefail
python -m pip install --no-deps .

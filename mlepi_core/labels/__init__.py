"""Where labels come from: finished stores today, engines that compute them later."""

from mlepi_core.labels.checksums import read_sums, verify_checksums, write_sums
from mlepi_core.labels.dataset import Dataset, store_files

__all__ = ["Dataset", "read_sums", "store_files", "verify_checksums", "write_sums"]

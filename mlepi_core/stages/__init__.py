"""One function per verb and rule: paths in, paths out; heavy libraries are imported inside."""

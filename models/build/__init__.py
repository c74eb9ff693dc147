"""The maintainer's tools that rebuild and measure the bundled models; no part of the installed program."""

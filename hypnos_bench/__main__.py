"""``python -m hypnos_bench``."""

from hypnos_bench.cli import main

if __name__ == "__main__":
    main()

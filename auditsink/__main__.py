"""`python -m auditsink` is the command `auditsink`."""

from auditsink.cli import main

if __name__ == "__main__":
    main()

"""The controller: which operation is due, its steps, and what it tells gardenlet."""

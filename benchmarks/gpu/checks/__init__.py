"""The checks: each module has ``check(target)``, which yields rows and may raise anything."""

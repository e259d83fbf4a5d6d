"""Many agents on one virtual clock: the production generators, with a crash, a cut or a refusal between any steps."""

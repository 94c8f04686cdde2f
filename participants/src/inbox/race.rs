//! Every inbox under fire: many operations at once on few keys, and a ledger that hides no repetition.

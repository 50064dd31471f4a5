//! Which images a listing gives, in which order and from where on: AIP-158 pages, a subset of AIP-160 filters.

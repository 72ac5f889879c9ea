//! Whole Engines in a virtual network.

//! Offers and answers for plugins.

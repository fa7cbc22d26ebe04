//! The packet engine: workers, handle table, routes, drivers.

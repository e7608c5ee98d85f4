"""What people see of a service: worklist, cases, slides."""

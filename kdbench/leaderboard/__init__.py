"""From records to tables and pages. Nothing here imports torch."""

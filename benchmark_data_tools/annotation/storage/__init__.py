"""What is kept: the database, masks and files of a dataset, and how they survive."""

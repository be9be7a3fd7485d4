"""Where images come from: folders, Parquet files, the Hugging Face Hub."""

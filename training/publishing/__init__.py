"""Sends bundles to stores, from which services fetch them: buckets, folders of web servers, the Hugging Face Hub."""

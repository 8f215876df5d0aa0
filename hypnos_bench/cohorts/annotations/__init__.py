"""Annotation readers: text, bytes or rows in, typed stages and events out; no file is opened here."""

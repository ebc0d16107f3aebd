"""What a person or a program is handed: text, HTML, JSON, tables."""

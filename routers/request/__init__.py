"""What a prompt asks for, whoever answers: its level, its kind and domain, its answer's length."""

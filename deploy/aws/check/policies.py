def check_table():
    return True
